package budget

import "github.com/sluice-autoscaler/sluice/outbound"

// Logins bound what is read of whoever gives tokens, each time, and of a secret
// store in one read together. What a Secret can have fits in.
var Logins = outbound.Limits{Bytes: 1 << 20, Values: 20_000}
