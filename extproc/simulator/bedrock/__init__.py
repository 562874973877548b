"""AWS Bedrock's runtime, simulated: Converse for any model, InvokeModel for Anthropic's."""
