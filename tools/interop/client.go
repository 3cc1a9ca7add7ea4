// Sends a request with Go's net/http: client OPERATION URL [CA CERT KEY]. Prints the status and the
// body of the response.
package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
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

func main() {
	operation, address, tlsFiles := os.Args[1], os.Args[2], os.Args[3:]
	transport := &http.Transport{}
	if len(tlsFiles) == 3 {
		authority, err := os.ReadFile(tlsFiles[0])
		must(err)
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(authority)
		certificate, err := tls.LoadX509KeyPair(tlsFiles[1], tlsFiles[2])
		must(err)
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{certificate}}
	}
	client := &http.Client{Transport: transport}
	method, count := http.MethodGet, 1
	var body io.Reader
	switch operation {
	case "put":
		method, body = http.MethodPut, strings.NewReader("hello")
	case "chunked":
		// A reader of unknown length is sent in chunks.
		method, body = http.MethodPut, io.MultiReader(strings.NewReader("hello"))
	case "writer-to":
		// An io.WriterTo of unknown length is sent in one chunk, of 17 MiB in this case.
		content := append(make([]byte, 17<<20), "hello"...)
		method, body = http.MethodPut, io.NopCloser(bytes.NewReader(content))
	case "query":
		address += "?" + url.Values{"q": {"a/b@c,d"}}.Encode()
	case "delete":
		method = http.MethodDelete
	case "head":
		method = http.MethodHead
	case "keep-alive":
		count = 2
	}
	for i := 0; i < count; i++ {
		request, err := http.NewRequest(method, address, body)
		must(err)
		if operation == "range" {
			request.Header.Set("Range", "bytes=2-4")
		}
		request.Close = operation == "close"
		response, err := client.Do(request)
		must(err)
		text, err := io.ReadAll(response.Body)
		must(err)
		response.Body.Close()
		fmt.Println(response.StatusCode, string(text))
	}
}
