package account

import "time"

// ColdStartsPath is where the controller that leads serves ColdStarts as JSON, at its
// metrics port and for kubectl port-forward alone.
const ColdStartsPath = "/cold-starts"

// ColdStarts are the last ones of all objects. An object that is not among them has
// had none that was measured since this controller leads.
type ColdStarts struct {
	Now     time.Time         `json:"now"`
	Objects []ObjectColdStart `json:"objects"`
}

// ObjectColdStart is the last one of a ScaledObject.
type ObjectColdStart struct {
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	ColdStart ColdStart `json:"coldStart"`
}
