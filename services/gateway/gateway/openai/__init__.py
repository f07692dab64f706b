"""The OpenAI front door: every call is a job, every OpenAI object a view of one."""
