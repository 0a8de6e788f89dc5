"""Text endpoints: everything that speaks OpenAI's protocol, as an engine."""
