package main

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// The connection strings of Azure are of two kinds, and each is easily given
// where the other is meant.

// connectionKeys are the parts of a connection string, by their keys in small
// letters.
type connectionKeys map[string]string

// parseConnection takes a connection string apart. The error has nothing of
// the text.
func parseConnection(text string) (connectionKeys, error) {
	keys := connectionKeys{}
	for part := range strings.SplitSeq(text, ";") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		key, value, found := strings.Cut(part, "=")
		if !found {
			return nil, errors.New("is not a connection string: one of its parts, between semicolons, is not <key>=<value>")
		}
		keys[strings.ToLower(strings.TrimSpace(key))] = strings.TrimSpace(value)
	}
	return keys, nil
}

// ofMessaging reports whether it leads to Service Bus or Event Hubs.
func (k connectionKeys) ofMessaging() bool { return k["endpoint"] != "" }

// ofStorage reports whether it leads to a storage account.
func (k connectionKeys) ofStorage() bool {
	return k["accountname"] != "" || k["usedevelopmentstorage"] != "" || k["queueendpoint"] != "" || k["blobendpoint"] != ""
}

// storageAccess is a service of a storage account and what opens it.
type storageAccess struct {
	Base    string // its URL, without a "/" at its end
	Account string
	Key     string // of the account, in base64
	SAS     string // a shared access signature, as a query
}

// The account of an emulator, which everybody knows.
//
// Source: https://learn.microsoft.com/azure/storage/common/storage-connect-azurite
const (
	developmentAccount = "devstoreaccount1"
	developmentKey     = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

// developmentPorts are where an emulator serves.
var developmentPorts = map[string]string{"blob": "10000", "queue": "10001"}

// parseStorage reads the connection string of a storage account. service is
// "queue" or "blob". The error has nothing of the text.
func parseStorage(text, service string) (storageAccess, error) {
	keys, err := parseConnection(text)
	switch {
	case err != nil:
		return storageAccess{}, err
	case keys.ofMessaging() && !keys.ofStorage():
		return storageAccess{}, errors.New("is a connection string of Service Bus or Event Hubs (Endpoint=sb://...); one of a storage account has AccountName and AccountKey, or a shared access signature")
	case strings.EqualFold(keys["usedevelopmentstorage"], "true"):
		host := strings.TrimSuffix(keys["developmentstorageproxyuri"], "/")
		if host == "" {
			host = "http://127.0.0.1"
		}
		access := storageAccess{Base: host + ":" + developmentPorts[service] + "/" + developmentAccount, Account: developmentAccount, Key: developmentKey}
		return access, access.check(service)
	}
	if name := keys["accountname"]; name != "" && !hostLabel.MatchString(name) {
		return storageAccess{}, errors.New("has an AccountName that is none: it is of letters, digits and hyphens")
	}
	access := storageAccess{Account: keys["accountname"], Key: keys["accountkey"], Base: strings.TrimSuffix(keys[service+"endpoint"], "/")}
	if access.Key == "" {
		access.SAS = strings.TrimPrefix(keys["sharedaccesssignature"], "?")
	}
	if access.Base == "" && access.Account != "" {
		protocol, suffix := keys["defaultendpointsprotocol"], keys["endpointsuffix"]
		if protocol == "" {
			protocol = "https"
		}
		if suffix == "" {
			suffix = publicCloud.storage
		}
		if !hostSuffix.MatchString(suffix) {
			return storageAccess{}, errors.New("has an EndpointSuffix that is not what a host ends with, such as core.windows.net")
		}
		access.Base = strings.ToLower(protocol) + "://" + access.Account + "." + service + "." + suffix
	}
	return access, access.check(service)
}

// check refuses what no request can be made of.
func (a storageAccess) check(service string) error {
	u, err := url.Parse(a.Base)
	_, keyErr := base64.StdEncoding.DecodeString(a.Key)
	_, sasErr := url.ParseQuery(a.SAS)
	switch {
	case a.Base == "":
		return fmt.Errorf("is not a connection string of a storage account: it has neither AccountName nor %sEndpoint", strings.ToUpper(service[:1])+service[1:])
	case err != nil, u.Hostname() == "", u.Scheme != "https" && u.Scheme != "http", u.User != nil, u.RawQuery != "", u.Fragment != "":
		return errors.New("leads to no http or https URL: see its DefaultEndpointsProtocol, AccountName, EndpointSuffix and endpoints")
	case a.Key == "" && a.SAS == "":
		return errors.New("has neither AccountKey nor SharedAccessSignature")
	case a.Key != "" && a.Account == "":
		return errors.New("has an AccountKey without an AccountName")
	case keyErr != nil:
		return errors.New("has an AccountKey that is not base64")
	case sasErr != nil:
		return errors.New("has a SharedAccessSignature that is not a query, such as sv=<version>&sig=<signature>")
	}
	return nil
}

// messagingAccess is a namespace of Service Bus or Event Hubs and what opens it.
type messagingAccess struct {
	Host      string // as the endpoint spells it, with a port where it has one
	KeyName   string
	Key       string
	Signature string // a shared access signature that was made before
	Entity    string // of EntityPath
	Emulator  bool   // nothing is encrypted
}

// parseMessaging reads the connection string of a namespace, or of something in
// it. The error has nothing of the text.
func parseMessaging(text string) (messagingAccess, error) {
	keys, err := parseConnection(text)
	if err != nil {
		return messagingAccess{}, err
	}
	if keys.ofStorage() && !keys.ofMessaging() {
		return messagingAccess{}, errors.New("is a connection string of a storage account; one of Service Bus or Event Hubs has Endpoint=sb://<namespace>..., SharedAccessKeyName and SharedAccessKey")
	}
	a := messagingAccess{
		KeyName: keys["sharedaccesskeyname"], Key: keys["sharedaccesskey"], Signature: keys["sharedaccesssignature"], Entity: keys["entitypath"],
		Emulator: strings.EqualFold(keys["usedevelopmentemulator"], "true"),
	}
	u, err := url.Parse(keys["endpoint"])
	switch {
	case !keys.ofMessaging():
		return a, errors.New("is not a connection string of Service Bus or Event Hubs: it has no Endpoint")
	case err != nil, u.Hostname() == "", u.User != nil, u.Scheme != "sb" && u.Scheme != "https" && u.Scheme != "amqps":
		return a, errors.New("has an Endpoint that is not sb://<namespace>.servicebus.windows.net/ or its like")
	case a.Signature == "" && (a.KeyName == "" || a.Key == ""):
		return a, errors.New("has neither SharedAccessKeyName and SharedAccessKey nor SharedAccessSignature")
	}
	a.Host = u.Host
	return a, nil
}
