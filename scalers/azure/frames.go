package main

import (
	"bytes"
	"encoding/json"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

// The answers of Azure Data Explorer are read here and not by its own client,
// which keeps each frame whole and reads them in a goroutine: one cell is wanted.

// frame is one part of an answer of version 2, as far as its one number goes.
//
// Source: https://learn.microsoft.com/kusto/api/rest/response-v2
type frame struct {
	FrameType         string          `json:"FrameType"`
	TableKind         string          `json:"TableKind"`
	TableID           json.Number     `json:"TableId"`
	TableFragmentType string          `json:"TableFragmentType"`
	Columns           columns         `json:"Columns"`
	Rows              rows            `json:"Rows"`
	HasErrors         bool            `json:"HasErrors"`
	Cancelled         bool            `json:"Cancelled"`
	Errors            json.RawMessage `json:"OneApiErrors"`
}

// frames gather the first primary table of an answer.
type frames struct {
	table
	id       json.Number // of the table
	found    bool        // there is one
	failed   bool
	complete bool // the last frame was seen
}

// add takes one frame in.
func (f *frames) add(next frame) {
	f.failed = f.failed || next.HasErrors || next.Cancelled || len(next.Errors) > 0 && !isNull(next.Errors) && !bytes.Equal(next.Errors, []byte("[]"))
	switch next.FrameType {
	case "DataTable", "TableHeader":
		if next.TableKind == "PrimaryResult" && !f.found {
			f.table, f.id, f.found = table{next.Columns, next.Rows}, next.TableID, true
		} else {
			f.failed = f.failed || next.Rows.failed
		}
	case "TableFragment":
		switch {
		case !f.found || next.TableID != f.id:
		case next.TableFragmentType == "DataReplace":
			f.rows = next.Rows
		default:
			f.rows.append(next.Rows)
		}
	case "DataSetCompletion":
		f.complete = true
	case "Error":
		f.failed = true
	}
}

// parseKusto returns the one number of an answer.
func parseKusto(turn func() error, body []byte) (float64, error) {
	if body = bytes.TrimSpace(body); len(body) == 0 || body[0] != '[' {
		return 0, errNotOfAPI
	}
	var all frames
	err := client.EachElement(turn, body, frame{Columns: columns{turn: turn}, Rows: rows{turn: turn}}, all.add)
	switch {
	case err != nil:
		return 0, errNotOfAPI
	case all.failed:
		return 0, errPartial
	case !all.complete:
		return 0, scaler.Errorf(codes.Unavailable, "the answer has no end: the cluster broke it off")
	case !all.found:
		return 0, scaler.Errorf(codes.FailedPrecondition, "the query returns no table, want one with one row")
	}
	return all.number()
}
