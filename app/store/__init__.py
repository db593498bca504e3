"""The long-term store: what agents and clients remember beyond a thread, each tenant its own."""
