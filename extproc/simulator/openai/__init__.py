"""OpenAI and Azure OpenAI, simulated: Chat Completions, Responses, and what is beside them."""
