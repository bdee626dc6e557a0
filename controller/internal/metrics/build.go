package metrics

// Commit is the revision that the binary was built from, "" when unknown. It is
// set by the linker.
var Commit string
