package main

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// checkFiles refuses a connection string that lets the client read a file that
// the installation does not list. keys are the options that name files.
//
// Options stand in the query of a URL, or as key=value with any separator.
func checkFiles(parameter, connection string, keys ...string) error {
	for _, path := range named(connection, keys) {
		if err := scaler.CheckFile(path); err != nil {
			return fmt.Errorf("%s: %w", parameter, err)
		}
	}
	return nil
}

// longest is the longest of the timeouts that a connection string has for keys,
// 0 without any. A number without a unit is one of unit.
func longest(connection string, unit time.Duration, keys ...string) time.Duration {
	var most time.Duration
	for _, text := range named(connection, keys) {
		limit, err := time.ParseDuration(text)
		if number, failed := strconv.ParseInt(text, 10, 32); failed == nil {
			limit, err = time.Duration(number)*unit, nil
		}
		if err == nil {
			most = max(most, limit)
		}
	}
	return most
}

// named are the values of options, as far as they are set.
func named(connection string, keys []string) []string {
	var values []string
	if u, err := url.Parse(connection); err == nil && u.Scheme != "" && strings.Contains(connection, "://") {
		for key, all := range u.Query() {
			if slices.Contains(keys, strings.ToLower(strings.TrimSpace(key))) {
				values = append(values, all...)
			}
		}
	} else {
		for _, found := range option.FindAllStringSubmatch(connection, -1) {
			if slices.Contains(keys, strings.ToLower(strings.TrimSpace(found[1]))) {
				values = append(values, strings.Trim(found[2], `'"`))
			}
		}
	}
	return slices.DeleteFunc(values, func(v string) bool { return v == "" || v == "system" })
}

// option finds key=value, quoted or not.
var option = regexp.MustCompile(`([A-Za-z][A-Za-z0-9_ -]*?)\s*=\s*('(?:[^'\\]|\\.)*'|"[^"]*"|[^\s;&]*)`)
