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

// readerOrder: open `readers` streams, `{n}` in URL, headers and body being their number, read what
// comes, and hold them for `seconds` after the last one has begun.
type readerOrder struct {
	Method  string            `json:"method"`
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
	Readers int               `json:"readers"`
	Rate    float64           `json:"rate"`
	Seconds float64           `json:"seconds"`
}

type readerResult struct {
	Opened   int64    `json:"opened"`
	Held     int64    `json:"held"`
	Failures []string `json:"failures"`
}

func readers(raw []byte) (any, error) {
	var order readerOrder
	if err := json.Unmarshal(raw, &order); err != nil {
		return nil, err
	}
	client := pooled(order.Readers)
	client.Timeout = 0
	var opened, held atomic.Int64
	var opening sync.WaitGroup
	var lock sync.Mutex
	var result readerResult
	for n := range order.Readers {
		time.Sleep(seconds(1 / order.Rate))
		opening.Add(1)
		go func() {
			response, err := open(client, order, fmt.Sprint(n))
			if err == nil {
				opened.Add(1)
				held.Add(1)
			} else {
				lock.Lock()
				result.Failures = append(result.Failures, err.Error())
				lock.Unlock()
			}
			opening.Done()
			if err == nil {
				_, _ = io.Copy(io.Discard, response.Body)
				held.Add(-1)
			}
		}()
	}
	opening.Wait()
	say("begin")
	time.Sleep(seconds(order.Seconds))
	say("end")
	result.Opened, result.Held = opened.Load(), held.Load()
	result.Failures = result.Failures[:min(5, len(result.Failures))]
	return result, nil
}

func open(client *http.Client, order readerOrder, n string) (*http.Response, error) {
	fill := strings.NewReplacer("{n}", n)
	request, _ := http.NewRequest(order.Method, fill.Replace(order.URL), strings.NewReader(fill.Replace(order.Body)))
	for name, value := range order.Headers {
		request.Header.Set(name, fill.Replace(value))
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != 200 {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 300))
		response.Body.Close()
		return nil, fmt.Errorf("status %d: %s", response.StatusCode, text)
	}
	return response, nil
}
