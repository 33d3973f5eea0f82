"""A module and a task become a model; a phase divides it; a task judges it."""
