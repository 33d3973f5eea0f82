"""fit, and all that its phases need."""
