package main

import "github.com/sluice-autoscaler/sluice/scalers/scaler"

// redisList scales on the number of elements of one key: a list, set, sorted
// set or hash.
var redisList = scaler.Define[listParams]("redis", open, rings)

// redisClusterList scales on the number of elements of one key of a Redis
// Cluster: a list, set, sorted set or hash.
var redisClusterList = scaler.Define[clusterListParams]("redis-cluster", open, rings)

// redisSentinelList scales on the number of elements of one key at the master
// that Sentinels name: a list, set, sorted set or hash.
var redisSentinelList = scaler.Define[sentinelListParams]("redis-sentinel", open, rings)

// keyParams are what the types for a key have in common.
type keyParams struct {
	connectionParams

	// ListName is the key.
	ListName string `param:"listName,required"`
	// ListLength is the target: elements per replica.
	ListLength int64 `param:"listLength" default:"5" role:"target" unit:"elements"`
	// ActivationListLength is the activation threshold.
	ActivationListLength int64 `param:"activationListLength" default:"0" role:"activation" unit:"elements"`
}

// Name is the same for all three types.
func (p keyParams) Name() string { return scaler.MetricName("redis", p.ListName) }

// listParams is the metadata of a redis trigger.
type listParams struct {
	keyParams
	databaseParams
}

// clusterListParams is the metadata of a redis-cluster trigger.
type clusterListParams struct {
	keyParams
	clusterDatabase
}

// sentinelListParams is the metadata of a redis-sentinel trigger.
type sentinelListParams struct {
	keyParams
	sentinelDatabase
}

// source reads the number of elements.
func (p keyParams) source(s *server) *source {
	return &source{
		server: s, what: "key " + p.ListName, key: p.ListName,
		first: func() *step { return s.length(p.ListName) },
	}
}
