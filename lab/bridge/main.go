// Command mautrix-signal is the lab's bridge core: mautrix-go's own bridge program with no Signal in it.
//
// Real, because it is the code that the released bridge is built from: command line, config file, registration,
// database migrations, appservice listener, start-up order, end-to-bridge encryption, health endpoints, bot commands,
// provisioning API, log lines and exit codes.
//
// Missing: Signal itself. Nobody can log in, no message goes anywhere, and the `network` section of the config has
// one key of the lab's. What stands in for it is in connector.go.
package main

import "maunium.net/go/mautrix/bridgev2/matrix/mxmain"

// Set by the linker (lab/bridge_build.py), as the released bridge's are.
var (
	Version   = "0.00"
	Tag       = "unknown"
	Commit    = "unknown"
	BuildTime = "unknown"
)

func newBridge() *mxmain.BridgeMain {
	return &mxmain.BridgeMain{
		// The name owns the database tables and is printed by --version: that of the real one.
		Name:        "mautrix-signal",
		Description: "The lab's bridge core: a mautrix bridge without Signal.",
		URL:         "https://github.com/mautrix/signal",
		Version:     Version,
		SemCalVer:   true,
		Connector:   &signalless{},
	}
}

func main() {
	bridge := newBridge()
	bridge.InitVersion(Tag, Commit, BuildTime)
	bridge.Run()
}
