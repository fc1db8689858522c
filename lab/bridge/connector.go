package main

import (
	"context"
	"errors"

	"go.mau.fi/util/configupgrade"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/database"
)

var errNoSignal = errors.New("this is the lab's bridge core: it has everything of the bridge but Signal itself")

// signalless answers for Signal wherever the bridge asks the network for its name, and refuses wherever it asks for
// the network itself.
type signalless struct{}

var _ bridgev2.NetworkConnector = (*signalless)(nil)

// GetName gives the values that the example config's defaults are made of: appservice id, bot, ghosts, port, prefix.
func (*signalless) GetName() bridgev2.BridgeName {
	return bridgev2.BridgeName{
		DisplayName:          "Signal",
		NetworkURL:           "https://signal.org",
		NetworkIcon:          "mxc://maunium.net/wPJgTQbZOtpBFmDNkiNEMDUp",
		NetworkID:            "signal",
		BeeperBridgeType:     "signal",
		DefaultPort:          29328,
		DefaultCommandPrefix: "!signal",
	}
}

func (*signalless) Init(*bridgev2.Bridge)            {}
func (*signalless) Start(context.Context) error      { return nil }
func (*signalless) GetBridgeInfoVersion() (int, int) { return 1, 1 }

func (*signalless) GetDBMetaTypes() database.MetaTypes { return database.MetaTypes{} }

func (*signalless) GetCapabilities() *bridgev2.NetworkGeneralCapabilities {
	return &bridgev2.NetworkGeneralCapabilities{}
}

func (*signalless) GetConfig() (string, any, configupgrade.Upgrader) { return "", nil, nil }

func (*signalless) GetLoginFlows() []bridgev2.LoginFlow {
	return []bridgev2.LoginFlow{{ID: "qr", Name: "QR", Description: "Link a Signal account (not in the lab)"}}
}

func (*signalless) LoadUserLogin(context.Context, *bridgev2.UserLogin) error { return errNoSignal }

func (*signalless) CreateLogin(context.Context, *bridgev2.User, string) (bridgev2.LoginProcess, error) {
	return nil, errNoSignal
}
