"""Recipes that train the models Ragstone can use; a process of its own, imported by nobody else."""
