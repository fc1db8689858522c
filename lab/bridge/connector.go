package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"go.mau.fi/util/configupgrade"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/database"
)

var errNoSignal = errors.New("this is the lab's bridge core: it has everything of the bridge but Signal itself")

// signalless answers for Signal wherever the bridge asks the network for its name, and refuses wherever it asks for
// the network itself.
type signalless struct {
	bridge *bridgev2.Bridge
	config struct {
		UploadAtStart bool `yaml:"upload_at_start"`
	}
}

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

func (s *signalless) Init(bridge *bridgev2.Bridge) { s.bridge = bridge }

// Start uploads, if the config says so, what people send: something small, something of a size that is not known, and
// something above matrix.upload_file_threshold. The last two go through a temporary file.
func (s *signalless) Start(ctx context.Context) error {
	if !s.config.UploadAtStart {
		return nil
	}
	for _, file := range []struct {
		name  string
		bytes int
		told  int64
	}{{"small", 1000, 1000}, {"unknown", 2000, -1}, {"large", 6 << 20, 6 << 20}} {
		_, _, err := s.bridge.Bot.UploadMediaStream(ctx, "", file.told, false, func(to io.Writer) (*bridgev2.FileStreamResult, error) {
			_, err := to.Write(make([]byte, file.bytes))
			return &bridgev2.FileStreamResult{FileName: file.name, MimeType: "application/octet-stream"}, err
		})
		if err != nil {
			return fmt.Errorf("uploading the file %s: %w", file.name, err)
		}
	}
	return nil
}

func (*signalless) GetBridgeInfoVersion() (int, int) { return 1, 1 }

func (*signalless) GetDBMetaTypes() database.MetaTypes { return database.MetaTypes{} }

func (*signalless) GetCapabilities() *bridgev2.NetworkGeneralCapabilities {
	return &bridgev2.NetworkGeneralCapabilities{}
}

func (s *signalless) GetConfig() (string, any, configupgrade.Upgrader) {
	example := "# Whether it uploads three files when it starts.\nupload_at_start: false\n"
	return example, &s.config, configupgrade.SimpleUpgrader(func(helper configupgrade.Helper) {
		helper.Copy(configupgrade.Bool, "upload_at_start")
	})
}

func (*signalless) GetLoginFlows() []bridgev2.LoginFlow {
	return []bridgev2.LoginFlow{{ID: "qr", Name: "QR", Description: "Link a Signal account (not in the lab)"}}
}

func (*signalless) LoadUserLogin(context.Context, *bridgev2.UserLogin) error { return errNoSignal }

func (*signalless) CreateLogin(context.Context, *bridgev2.User, string) (bridgev2.LoginProcess, error) {
	return nil, errNoSignal
}
