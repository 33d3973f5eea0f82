"""Before and after training: what is in a module, which one to take, whether transfer helped."""
