"""The pages of the user interface."""
