package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// requestOrder: with a rate an open loop, whose latencies count from the moment a request was due;
// without one `callers` in a closed loop.
type requestOrder struct {
	URL      string            `json:"url"`
	Headers  map[string]string `json:"headers"`
	Body     string            `json:"body"`
	Status   int               `json:"status"`
	Contains string            `json:"contains"`
	Callers  int               `json:"callers"`
	Rate     float64           `json:"rate"`
	WarmUpS  float64           `json:"warm_up_s"`
	Seconds  float64           `json:"seconds"`
}

// requestResult: `accepted` counts all good answers, `measured` those that came within the window.
type requestResult struct {
	Ms       []float64 `json:"ms"`
	Accepted int64     `json:"accepted"`
	Measured int64     `json:"measured"`
	Failed   int64     `json:"failed"`
	WindowS  float64   `json:"window_s"`
	Failures []string  `json:"failures"`
}

func requests(raw []byte) (any, error) {
	var order requestOrder
	if err := json.Unmarshal(raw, &order); err != nil {
		return nil, err
	}
	load := &requestLoad{order: order, client: pooled(order.Callers), stop: make(chan struct{})}
	due := make(chan time.Time)
	var callers sync.WaitGroup
	for range order.Callers {
		callers.Add(1)
		go func() { defer callers.Done(); load.call(due) }()
	}
	go load.pace(due)
	time.Sleep(seconds(order.WarmUpS))
	begun := time.Now()
	load.measuring.Store(true)
	say("begin")
	time.Sleep(seconds(order.Seconds))
	load.measuring.Store(false)
	load.result.WindowS = time.Since(begun).Seconds()
	say("end")
	close(load.stop)
	callers.Wait()
	return load.result, nil
}

type requestLoad struct {
	order     requestOrder
	client    *http.Client
	stop      chan struct{}
	measuring atomic.Bool
	lock      sync.Mutex
	result    requestResult
}

// pace hands out moments; a caller that is late takes the next at once, and its lateness counts.
func (l *requestLoad) pace(due chan<- time.Time) {
	defer close(due)
	begun := time.Now()
	for n := 0; ; n++ {
		at := time.Now()
		if l.order.Rate > 0 {
			at = begun.Add(seconds(float64(n) / l.order.Rate))
			time.Sleep(time.Until(at))
		}
		select {
		case due <- at:
		case <-l.stop:
			return
		}
	}
}

func (l *requestLoad) call(due <-chan time.Time) {
	for at := range due {
		if l.order.Rate == 0 {
			at = time.Now()
		}
		counts := l.measuring.Load()
		err := l.once()
		took := ms(time.Since(at))
		l.lock.Lock()
		if err == nil {
			l.result.Accepted++
			if counts {
				l.result.Ms = append(l.result.Ms, took)
			}
			if l.measuring.Load() {
				l.result.Measured++
			}
		} else {
			l.result.Failed++
			if len(l.result.Failures) < 5 {
				l.result.Failures = append(l.result.Failures, err.Error())
			}
		}
		l.lock.Unlock()
	}
}

func (l *requestLoad) once() error {
	request, _ := http.NewRequest("POST", l.order.URL, strings.NewReader(l.order.Body))
	for name, value := range l.order.Headers {
		request.Header.Set(name, value)
	}
	response, err := l.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != l.order.Status || !strings.Contains(string(body), l.order.Contains) {
		return fmt.Errorf("status %d: %.300s", response.StatusCode, body)
	}
	return nil
}
