//go:build unix && !linux

package localcluster

import "syscall"

func contained(string, int64) *syscall.SysProcAttr { return nil }

func ownBy(string, int64) error { return nil }

func checkStatic(string) error { return nil }
