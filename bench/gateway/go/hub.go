package main

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// hub is the Go peer of the fan-out row: every line of standard input goes to all sockets. Each has
// a queue of its own and a goroutine that writes; who lets the queue run full is cut off.
func hub(raw []byte) (any, error) {
	var order struct {
		Port string `json:"port"`
	}
	if err := json.Unmarshal(raw, &order); err != nil {
		return nil, err
	}
	members := &members{queues: map[chan []byte]struct{}{}}
	go func() {
		lines := bufio.NewScanner(os.Stdin)
		for lines.Scan() {
			members.broadcast(append([]byte(nil), lines.Bytes()...))
		}
	}()
	http.HandleFunc("/healthz", func(http.ResponseWriter, *http.Request) {})
	http.HandleFunc("/socket", members.serve)
	return nil, http.ListenAndServe("127.0.0.1:"+order.Port, nil)
}

type members struct {
	lock   sync.Mutex
	queues map[chan []byte]struct{}
}

func (m *members) broadcast(message []byte) {
	m.lock.Lock()
	defer m.lock.Unlock()
	for queue := range m.queues {
		select {
		case queue <- message:
		default:
			delete(m.queues, queue)
			close(queue)
		}
	}
}

func (m *members) serve(w http.ResponseWriter, r *http.Request) {
	socket, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer socket.CloseNow()
	queue := make(chan []byte, 256)
	m.lock.Lock()
	m.queues[queue] = struct{}{}
	m.lock.Unlock()
	defer m.leave(queue)
	ctx := socket.CloseRead(r.Context())
	for {
		select {
		case message, ok := <-queue:
			if !ok || write(ctx, socket, message) != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

func (m *members) leave(queue chan []byte) {
	m.lock.Lock()
	defer m.lock.Unlock()
	delete(m.queues, queue)
}

func write(ctx context.Context, socket *websocket.Conn, message []byte) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return socket.Write(ctx, websocket.MessageText, message)
}
