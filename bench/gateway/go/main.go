// One program for everything that must not be slower than what it measures: load clients, the
// compiled peer of the fan-out row, and a provider. `penstock-bench COMMAND JSON`; the result is
// one line of JSON on standard output, after `begin` and `end` around what is measured.
package main

import (
	"encoding/json"
	"fmt"
	"os"
)

var commands = map[string]func(order []byte) (any, error){
	"streams":  streams,
	"requests": requests,
	"readers":  readers,
	"sockets":  sockets,
	"hub":      hub,
}

func main() {
	if len(os.Args) != 3 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: penstock-bench streams|requests|readers|sockets|hub JSON")
		os.Exit(2)
	}
	result, err := commands[os.Args[1]]([]byte(os.Args[2]))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if result != nil {
		line, _ := json.Marshal(result)
		fmt.Println(string(line))
	}
}

// say tells the driver, which reads processor time at these moments.
func say(word string) { fmt.Println(word) }
