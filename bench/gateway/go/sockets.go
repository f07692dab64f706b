package main

func sockets(raw []byte) (any, error) { return nil, nil }
func hub(raw []byte) (any, error) { return nil, nil }
