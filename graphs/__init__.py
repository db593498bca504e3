"""What the agents do: graphs of nodes around pure decisions, with their prompts."""
