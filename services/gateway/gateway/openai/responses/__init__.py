"""`/v1/responses`: a job as OpenAI's Responses API shows it."""
