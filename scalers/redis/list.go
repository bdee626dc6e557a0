package main

import (
	"context"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// redisList scales on the number of elements of one key: a list, set, sorted
// set or hash.
var redisList = scaler.Define("redis", openList, rings)

// redisClusterList scales on the number of elements of one key of a Redis
// Cluster: a list, set, sorted set or hash.
var redisClusterList = scaler.Define("redis-cluster", openClusterList, rings)

// redisSentinelList scales on the number of elements of one key at the master
// that Sentinels name: a list, set, sorted set or hash.
var redisSentinelList = scaler.Define("redis-sentinel", openSentinelList, rings)

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
	databaseParams
	sentinelParams
}

// clusterDatabase accepts what the other types need and a cluster does not.
type clusterDatabase struct {
	// DatabaseIndex is ignored: a cluster has one database.
	DatabaseIndex int `param:"databaseIndex" default:"0" question:"false"`
}

func openList(ctx context.Context, p listParams) (scaler.Source, error) {
	return p.open(ctx, single, p.DatabaseIndex, sentinelParams{})
}

func openClusterList(ctx context.Context, p clusterListParams) (scaler.Source, error) {
	return p.open(ctx, cluster, 0, sentinelParams{})
}

func openSentinelList(ctx context.Context, p sentinelListParams) (scaler.Source, error) {
	return p.open(ctx, sentinel, p.DatabaseIndex, p.sentinelParams)
}

func (p keyParams) open(ctx context.Context, m mode, database int, s sentinelParams) (scaler.Source, error) {
	server, err := share(ctx, m, p.connectionParams, database, s)
	if err != nil {
		return nil, err
	}
	return scaler.Join(server, &source{
		server: server, what: "key " + p.ListName, key: p.ListName,
		first: func() *step { return server.length(p.ListName) },
	}), nil
}
