"""`/v1/batches`: a file of requests, each line a job of low priority, run by the gateways."""
