"""WebSocket mode of `/v1/responses`."""
