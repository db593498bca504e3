"""The write path: load, chunk, plan, embed, apply; and the worker that runs it."""
