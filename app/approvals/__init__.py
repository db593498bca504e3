"""Approvals: what people are asked to decide about tool calls, how they answer, and how the run goes on."""
