package scaling

import (
	"fmt"
	"strings"
)

// TriggerError is what is wrong with one trigger, in words for the user:
//
//	trigger 0 (aws-sqs-queue): queueLength: "many" is not a number
type TriggerError struct {
	// Index in spec.triggers.
	Index int
	// Type of the trigger.
	Type string
	// Err is the family's answer, or why it could not be asked.
	Err error
}

// Error names the trigger once: a family starts its messages with the type.
func (e *TriggerError) Error() string {
	return fmt.Sprintf("trigger %d (%s): %s", e.Index, e.Type, strings.TrimPrefix(e.Err.Error(), e.Type+": "))
}

func (e *TriggerError) Unwrap() error { return e.Err }
