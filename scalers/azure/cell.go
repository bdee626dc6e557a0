package main

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

// mostOfTable is how much of an answer with a table is read, in bytes: one cell
// is wanted.
const mostOfTable = 4 << 20

// table is what a query in the Kusto language returned, as far as its one
// number goes: however many rows there are, none but the first is kept.
type table struct {
	columns columns
	rows    rows
}

// columns are those of a table, of which the first one counts.
type columns struct {
	first column
	count int
	turn  func() error // of whoever decodes them
}

// column is one of them. The two services spell it differently.
type column struct {
	Type       string `json:"type"`       // of Log Analytics
	ColumnType string `json:"ColumnType"` // of Data Explorer
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *columns) UnmarshalJSON(text []byte) error {
	*c = columns{turn: c.turn}
	return client.EachElement(c.turn, text, column{}, func(next column) {
		if c.count == 0 {
			c.first = next
		}
		c.count++
	})
}

// rows are those of a table, of which the first one counts.
type rows struct {
	first  row
	count  int
	failed bool // an error stands in the place of a row
	turn   func() error
}

// row is one of them: its first cell, nil for a row without any.
type row struct {
	cell   json.RawMessage
	failed bool
}

// UnmarshalJSON implements json.Unmarshaler. What stands in a row's place and is
// no list is an error that the service met.
func (r *row) UnmarshalJSON(text []byte) error {
	*r = row{}
	if len(text) == 0 || text[0] != '[' {
		r.failed = true
		return nil
	}
	var cells [1]json.RawMessage
	err := json.Unmarshal(text, &cells)
	r.cell = cells[0]
	return err
}

// UnmarshalJSON implements json.Unmarshaler.
func (r *rows) UnmarshalJSON(text []byte) error {
	*r = rows{turn: r.turn}
	return client.EachElement(r.turn, text, row{}, r.add)
}

// add counts one row more.
func (r *rows) add(next row) {
	r.failed = r.failed || next.failed
	if next.failed {
		return
	}
	if r.count == 0 {
		r.first = next
	}
	r.count++
}

// append adds the rows of a further part of the table.
func (r *rows) append(more rows) {
	if r.count == 0 {
		r.first = more.first
	}
	r.count += more.count
	r.failed = r.failed || more.failed
}

// numeric are the types of columns whose cells are numbers in JSON.
var numeric = []string{"real", "double", "int", "long"}

// columnTypes are all types of columns that there are; a text beyond them is not
// repeated.
//
// Source: https://learn.microsoft.com/kusto/query/scalar-data-types
var columnTypes = []string{"bool", "boolean", "datetime", "date", "decimal", "dynamic", "guid", "uuid", "uniqueid", "string", "timespan", "time"}

// number is the one number of the table.
func (t table) number() (float64, error) {
	kind := t.columns.first.Type + t.columns.first.ColumnType
	cell := t.rows.first.cell
	switch {
	case t.rows.failed:
		return 0, errPartial
	case t.columns.count == 0:
		return 0, scaler.Errorf(codes.FailedPrecondition, "the query returns a table without columns, want one number")
	case t.rows.count == 0:
		return 0, fmt.Errorf("the query returns no rows, want one: end it with summarize count(), for example, which always has one: %w", scaler.ErrNoData)
	case t.rows.count > 1:
		return 0, scaler.Errorf(codes.FailedPrecondition, "the query returns %d rows, want one: end it with summarize, for example", t.rows.count)
	case slices.Contains(columnTypes, kind):
		return 0, scaler.Errorf(codes.FailedPrecondition, "the first column of the query's result is of type %s, want real, int or long: convert it, for example with toreal()", kind)
	case !slices.Contains(numeric, kind):
		return 0, scaler.Errorf(codes.FailedPrecondition, "the first column of the query's result is of a type that is none of real, int and long: convert it, for example with toreal()")
	case cell == nil:
		return 0, scaler.Errorf(codes.Unavailable, "the query returns a row without cells")
	case string(cell) == "null":
		return 0, fmt.Errorf("the query returns null, so nothing was found to make a number of: %w", scaler.ErrNoData)
	}
	return cellNumber(cell)
}

// cellNumber is the number in a cell of a numeric column.
func cellNumber(cell json.RawMessage) (float64, error) {
	var text string
	if json.Unmarshal(cell, &text) == nil { // what JSON has no number for
		switch text {
		case "NaN", "Infinity", "-Infinity":
			return 0, fmt.Errorf("the query returns %s, which is not a finite number: %w", text, scaler.ErrNoData)
		}
		return 0, errNoNumber
	}
	var value float64
	switch err := json.Unmarshal(cell, &value); {
	case err != nil || math.IsNaN(value) || math.IsInf(value, 0):
		return 0, errNoNumber
	case value < 0:
		return 0, scaler.Errorf(codes.FailedPrecondition, "the query returns %v, which is negative: want 0 or more", value)
	}
	return value, nil
}

var (
	errNoNumber = scaler.Errorf(codes.FailedPrecondition, "the query returns a cell that is not a number")
	errPartial  = scaler.Errorf(codes.Unavailable, "the service reports an error beside the result, which may not be complete")
	// errNotOfAPI is an answer that is none of the API's. Its text stays away:
	// nobody knows what it holds.
	errNotOfAPI = scaler.Errorf(codes.Unavailable, "the answer is not one of the API")
)
