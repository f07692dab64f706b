"""Real processes on one machine: broker, Redis, provider, proxy, every service in replicas."""
