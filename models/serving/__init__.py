"""The embedded chat model's process: fetches a model of the catalog and serves it over the OpenAI API."""
