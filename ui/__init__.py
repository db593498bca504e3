"""The Streamlit user interface: a client of the HTTP API; it imports nothing else but the API's schemas."""
