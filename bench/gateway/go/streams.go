package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// streamOrder: `streams` callers in a closed loop, their first calls spread over `spread_s`.
type streamOrder struct {
	URL      string            `json:"url"`
	Headers  map[string]string `json:"headers"`
	Body     string            `json:"body"`
	Expected string            `json:"expected"`
	Streams  int               `json:"streams"`
	SpreadS  float64           `json:"spread_s"`
	WarmUpS  float64           `json:"warm_up_s"`
	Seconds  float64           `json:"seconds"`
	DrainS   float64           `json:"drain_s"`
}

// streamResult: what calls did that began within the window; bytes of content are those of the window.
type streamResult struct {
	FirstMs  []float64 `json:"first_ms"`
	WholeMs  []float64 `json:"whole_ms"`
	Content  int64     `json:"content_bytes"`
	Pieces   int64     `json:"pieces"`
	WindowS  float64   `json:"window_s"`
	Finished int       `json:"finished"`
	Failed   int       `json:"failed"`
	Failures []string  `json:"failures"`
}

var marker = []byte(`"content":"`)

func streams(raw []byte) (any, error) {
	var order streamOrder
	if err := json.Unmarshal(raw, &order); err != nil {
		return nil, err
	}
	load := &streamLoad{order: order, client: pooled(order.Streams), stop: make(chan struct{})}
	var callers sync.WaitGroup
	for n := range order.Streams {
		callers.Add(1)
		go func() {
			defer callers.Done()
			load.call(time.Duration(order.SpreadS * float64(n) / float64(order.Streams) * 1e9))
		}()
	}
	time.Sleep(seconds(order.WarmUpS))
	load.measuring.Store(true)
	begun := time.Now()
	say("begin")
	time.Sleep(seconds(order.Seconds))
	load.measuring.Store(false)
	load.result.WindowS = time.Since(begun).Seconds()
	say("end")
	close(load.stop)
	callers.Wait()
	load.result.Content, load.result.Pieces = load.content.Load(), load.pieces.Load()
	return load.result, nil
}

type streamLoad struct {
	order     streamOrder
	client    *http.Client
	stop      chan struct{}
	measuring atomic.Bool
	content   atomic.Int64
	pieces    atomic.Int64
	lock      sync.Mutex
	result    streamResult
}

func (l *streamLoad) call(delay time.Duration) {
	select {
	case <-l.stop:
		return
	case <-time.After(delay):
	}
	for {
		select {
		case <-l.stop:
			return
		default:
		}
		counts := l.measuring.Load()
		begun := time.Now()
		first, err := l.once()
		l.note(counts, begun, first, err)
		if err != nil {
			time.Sleep(100 * time.Millisecond)
		}
	}
}

func (l *streamLoad) note(counts bool, begun, first time.Time, err error) {
	l.lock.Lock()
	defer l.lock.Unlock()
	if err != nil {
		l.result.Failed++
		if len(l.result.Failures) < 5 {
			l.result.Failures = append(l.result.Failures, err.Error())
		}
		return
	}
	l.result.Finished++
	if counts {
		l.result.FirstMs = append(l.result.FirstMs, ms(first.Sub(begun)))
		l.result.WholeMs = append(l.result.WholeMs, ms(time.Since(begun)))
	}
}

// once reads one answer to its end; the moment of its first content.
func (l *streamLoad) once() (first time.Time, err error) {
	request, _ := http.NewRequest("POST", l.order.URL, strings.NewReader(l.order.Body))
	for name, value := range l.order.Headers {
		request.Header.Set(name, value)
	}
	response, err := l.client.Do(request)
	if err != nil {
		return first, err
	}
	defer response.Body.Close()
	if response.StatusCode != 200 {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 300))
		return first, fmt.Errorf("status %d: %s", response.StatusCode, text)
	}
	text := make([]byte, 0, len(l.order.Expected))
	lines, isDone := bufio.NewReaderSize(response.Body, 16<<10), false
	for {
		line, err := lines.ReadSlice('\n')
		if piece := contentOf(line); len(piece) > 0 {
			if first.IsZero() {
				first = time.Now()
			}
			text = append(text, piece...)
			if l.measuring.Load() {
				l.content.Add(int64(len(piece)))
				l.pieces.Add(1)
			}
		}
		isDone = isDone || bytes.HasPrefix(line, []byte("data: [DONE]"))
		if err == io.EOF {
			break
		}
		if err != nil {
			return first, err
		}
	}
	if string(text) != l.order.Expected {
		return first, fmt.Errorf("wrong text of %d bytes: %.300s", len(text), text)
	}
	if !isDone {
		return first, fmt.Errorf("the stream ended without [DONE]")
	}
	return first, nil
}

// contentOf is the text of a chunk. The provider's tokens need no escapes, so no decoder is needed.
func contentOf(line []byte) []byte {
	at := bytes.Index(line, marker)
	if at < 0 {
		return nil
	}
	rest := line[at+len(marker):]
	return rest[:max(0, bytes.IndexByte(rest, '"'))]
}

func pooled(connections int) *http.Client {
	return &http.Client{
		Timeout: 120 * time.Second,
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			MaxIdleConns:        connections,
			MaxIdleConnsPerHost: connections,
			DisableCompression:  true,
		},
	}
}

func seconds(s float64) time.Duration { return time.Duration(s * 1e9) }

func ms(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }
