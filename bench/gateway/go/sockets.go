package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// socketOrder: open `sockets` connections, say `first` on each, wait for a message that contains
// `ready`, then read. Messages with `n=NUMBER;t=NANOSECONDS;` are events: they count as deliveries.
type socketOrder struct {
	URL      string            `json:"url"`
	Headers  map[string]string `json:"headers"`
	Protocol string            `json:"protocol"`
	First    string            `json:"first"`
	Ready    string            `json:"ready"`
	Sockets  int               `json:"sockets"`
	WarmUpS  float64           `json:"warm_up_s"`
	Seconds  float64           `json:"seconds"`
}

// socketResult: `lost` are numbers that a socket did not get between others that it got.
type socketResult struct {
	Ms         []float64 `json:"ms"`
	Deliveries int64     `json:"deliveries"`
	Bytes      int64     `json:"bytes"`
	Lost       int64     `json:"lost"`
	Opened     int64     `json:"opened"`
	Held       int64     `json:"held"`
	WindowS    float64   `json:"window_s"`
	Failures   []string  `json:"failures"`
}

const opening = 64 // handshakes at a time

func sockets(raw []byte) (any, error) {
	var order socketOrder
	if err := json.Unmarshal(raw, &order); err != nil {
		return nil, err
	}
	load := &socketLoad{order: order}
	slots := make(chan struct{}, opening)
	var opened sync.WaitGroup
	for range order.Sockets {
		slots <- struct{}{}
		opened.Add(1)
		go func() {
			socket, err := load.open()
			<-slots
			opened.Done()
			if err == nil {
				err = load.read(socket)
			}
			load.fail(err)
		}()
	}
	opened.Wait()
	say("ready")
	time.Sleep(seconds(order.WarmUpS))
	begun := time.Now()
	load.measuring.Store(true)
	say("begin")
	time.Sleep(seconds(order.Seconds))
	load.measuring.Store(false)
	say("end")
	return load.told(time.Since(begun)), nil
}

type socketLoad struct {
	order      socketOrder
	measuring  atomic.Bool
	deliveries atomic.Int64
	bytes      atomic.Int64
	lost       atomic.Int64
	opened     atomic.Int64
	held       atomic.Int64
	lock       sync.Mutex
	ms         []float64
	failures   []string
}

func (l *socketLoad) open() (*websocket.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	headers := http.Header{}
	for name, value := range l.order.Headers {
		headers.Set(name, value)
	}
	options := &websocket.DialOptions{HTTPHeader: headers}
	if l.order.Protocol != "" {
		options.Subprotocols = []string{l.order.Protocol}
	}
	socket, _, err := websocket.Dial(ctx, l.order.URL, options)
	if err != nil {
		return nil, err
	}
	if l.order.First != "" {
		if err := socket.Write(ctx, websocket.MessageText, []byte(l.order.First)); err != nil {
			return nil, err
		}
	}
	for l.order.Ready != "" {
		_, message, err := socket.Read(ctx)
		if err != nil {
			return nil, err
		}
		if bytes.Contains(message, []byte(l.order.Ready)) {
			break
		}
	}
	l.opened.Add(1)
	l.held.Add(1)
	return socket, nil
}

// read takes messages until the connection ends.
func (l *socketLoad) read(socket *websocket.Conn) error {
	defer l.held.Add(-1)
	socket.SetReadLimit(1 << 20)
	buffer := make([]byte, 0, 4096)
	last := int64(-1)
	for {
		_, reader, err := socket.Reader(context.Background())
		if err != nil {
			return err
		}
		buffer = buffer[:0]
		for {
			if len(buffer) == cap(buffer) {
				buffer = append(buffer, 0)[:len(buffer)]
			}
			n, err := reader.Read(buffer[len(buffer):cap(buffer)])
			buffer = buffer[:len(buffer)+n]
			if err != nil {
				break
			}
		}
		last = l.note(buffer, last)
	}
}

// note counts an event; the number of the last one that this socket got.
func (l *socketLoad) note(message []byte, last int64) int64 {
	number, sent := numberOf(message, "n="), numberOf(message, "t=")
	if number < 0 || sent < 0 {
		return last
	}
	if last >= 0 && number != last+1 {
		l.lost.Add(1)
	}
	if l.measuring.Load() {
		l.deliveries.Add(1)
		l.bytes.Add(int64(len(message)))
		took := ms(time.Duration(time.Now().UnixNano() - sent))
		l.lock.Lock()
		l.ms = append(l.ms, took)
		l.lock.Unlock()
	}
	return number
}

func (l *socketLoad) fail(err error) {
	if err == nil {
		return
	}
	l.lock.Lock()
	defer l.lock.Unlock()
	if len(l.failures) < 5 {
		l.failures = append(l.failures, err.Error())
	}
}

func (l *socketLoad) told(window time.Duration) socketResult {
	l.lock.Lock()
	defer l.lock.Unlock()
	return socketResult{
		Ms: sampled(l.ms), Deliveries: l.deliveries.Load(), Bytes: l.bytes.Load(),
		Lost: l.lost.Load(), Opened: l.opened.Load(), Held: l.held.Load(),
		WindowS: window.Seconds(), Failures: l.failures,
	}
}

// sampled keeps the line of JSON short where there are hundreds of thousands of deliveries.
func sampled(all []float64) []float64 {
	step := len(all)/20000 + 1
	some := make([]float64, 0, len(all)/step+1)
	for n := 0; n < len(all); n += step {
		some = append(some, all[n])
	}
	return some
}

func numberOf(message []byte, mark string) int64 {
	at := bytes.Index(message, []byte(mark))
	if at < 0 {
		return -1
	}
	rest := message[at+len(mark):]
	end := bytes.IndexByte(rest, ';')
	if end < 0 {
		return -1
	}
	number, err := strconv.ParseInt(string(rest[:end]), 10, 64)
	if err != nil {
		return -1
	}
	return number
}
