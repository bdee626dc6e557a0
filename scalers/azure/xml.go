package main

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"io"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

const (
	// deepestXML is how deep elements may nest; Azure's have a handful of levels.
	deepestXML = 20
	// longestTag bounds one tag with its attributes, and longestText what is
	// kept of an element's text.
	longestTag  = 16 << 10
	longestText = 16 << 10
)

var errNoXML = errors.New("the answer cannot be understood")

// misunderstood is an error of eachElement about an answer: that is Unavailable
// where the answer itself is wrong.
func misunderstood(what string, err error) error {
	code := status.Code(err)
	if errors.Is(err, errNoXML) {
		code = codes.Unavailable
	}
	return scaler.Errorf(code, "%s: %w", what, err)
}

// element is what is known of one when it ends.
type element struct {
	path string // of local names, such as "feed/entry/title"
	text string // without that of elements in it
	attr []xml.Attr
}

// eachElement hands over every element of a document as it ends, those inside
// before those around them, and keeps none. root is the name of the outermost
// one. What breaks off is no document. It takes turns at the processors, and ends
// with the context.
func eachElement(ctx context.Context, text []byte, root string, use func(element) error) error {
	if !shortTags(text) {
		return errNoXML
	}
	decoder := xml.NewDecoder(bytes.NewReader(text))
	type open struct {
		length int // of the path around it
		text   []byte
		attr   []xml.Attr
	}
	var path []byte
	var stack []open
	ended := false
	var turn client.Turn
	defer turn.Rest()
	for {
		if err := turn.Work(ctx); err != nil {
			return err
		}
		token, err := decoder.RawToken()
		if errors.Is(err, io.EOF) && ended {
			return nil
		}
		if err != nil {
			return errNoXML
		}
		switch token := token.(type) {
		case xml.StartElement:
			if len(stack) == deepestXML || ended || len(stack) == 0 && !strings.Contains("|"+root+"|", "|"+token.Name.Local+"|") {
				return errNoXML
			}
			stack = append(stack, open{len(path), nil, token.Attr})
			if len(path) > 0 {
				path = append(path, '/')
			}
			path = append(path, token.Name.Local...)
		case xml.CharData:
			if len(stack) == 0 {
				continue
			}
			if top := &stack[len(stack)-1]; len(top.text) < longestText {
				top.text = append(top.text, token[:min(len(token), longestText-len(top.text))]...)
			}
		case xml.EndElement:
			if len(stack) == 0 {
				return errNoXML
			}
			top := stack[len(stack)-1]
			if name := bytes.TrimPrefix(path[top.length:], []byte("/")); string(name) != token.Name.Local {
				return errNoXML
			}
			if err := use(element{string(path), string(top.text), top.attr}); err != nil {
				return err
			}
			stack, path = stack[:len(stack)-1], path[:top.length]
			ended = len(stack) == 0
		}
	}
}

// shortTags reports whether no tag is so long that its attributes take many
// times the memory of the text.
func shortTags(text []byte) bool {
	for {
		start := bytes.IndexByte(text, '<')
		if start < 0 {
			return true
		}
		text = text[start:]
		end := bytes.IndexByte(text, '>')
		if end < 0 {
			end = len(text) - 1
		}
		if end > longestTag {
			return false
		}
		text = text[end+1:]
	}
}
