// Puts, gets and lists files with Go's net/http: names URL FILE. The file has a name in each line.
// Prints the statuses and the text of each file, and then the list of the directory.
package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"strings"
)

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func send(method string, target url.URL, body string) (int, string) {
	request, err := http.NewRequest(method, target.String(), strings.NewReader(body))
	must(err)
	if method == http.MethodGet {
		request.Body = nil
		request.ContentLength = 0
	}
	response, err := http.DefaultClient.Do(request)
	must(err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	must(err)
	return response.StatusCode, string(text)
}

func main() {
	directory, err := url.Parse(os.Args[1])
	must(err)
	names, err := os.ReadFile(os.Args[2])
	must(err)
	for _, name := range strings.Split(string(names), "\n") {
		target := *directory
		target.Path += name
		putStatus, _ := send(http.MethodPut, target, "="+name)
		status, text := send(http.MethodGet, target, "")
		fmt.Println(putStatus, status, text)
	}
	_, list := send(http.MethodGet, *directory, "")
	fmt.Println(list)
}
