// Send an event from Go: go run main.go [SOCKET]; the standard library alone.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"os"
	"time"
)

func main() {
	path := "/run/leanbase-relay/relay.sock"
	if len(os.Args) > 1 {
		path = os.Args[1]
	}
	relay, err := net.DialTimeout("unix", path, 50*time.Millisecond)
	if err != nil {
		log.Fatal(err)
	}
	defer relay.Close()
	relay.SetDeadline(time.Now().Add(time.Second))
	err = json.NewEncoder(relay).Encode(map[string]any{ // one line, and its newline
		"event": "order placed", "distinct_id": "user-1", "timestamp": time.Now().UTC(),
		"properties": map[string]any{"total": 12.5},
	})
	if err != nil {
		log.Fatal(err)
	}
	reply, err := bufio.NewReader(relay).ReadString('\n')
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(reply) // {"stored":1,"refused":0}
}
