"""The OpenAI front door: every object of it is a job, in another dress."""
