package vmware

import (
	"os"
	"strings"
	"time"
)

// leaseFiles are where VMware's DHCP server of vmnet8 keeps its leases.
var leaseFiles = map[string][]string{
	"linux":   {"/etc/vmware/vmnet8/dhcpd/dhcpd.leases"},
	"darwin":  {"/var/db/vmware/vmnet-dhcpd-vmnet8.leases"},
	"windows": {`C:\ProgramData\VMware\vmnetdhcp.leases`},
}

// leased returns the address that the first of the files which is there has leased to a
// MAC address and that has not expired, or "".
func leased(files []string, mac string, now time.Time) string {
	if mac == "" {
		return ""
	}
	for _, path := range files {
		if text, err := os.ReadFile(path); err == nil {
			return parseLeases(string(text), mac, now)
		}
	}
	return ""
}

// parseLeases reads dhcpd.leases(5): the last lease of an address counts.
func parseLeases(text, mac string, now time.Time) (ip string) {
	var address, hardware string
	var ends time.Time
	for line := range strings.Lines(text) {
		words := strings.Fields(strings.TrimRight(strings.TrimSpace(line), ";{"))
		switch {
		case len(words) == 2 && words[0] == "lease":
			address, hardware, ends = words[1], "", time.Time{}
		case len(words) == 3 && words[0] == "hardware" && words[1] == "ethernet":
			hardware = words[2]
		case len(words) == 4 && words[0] == "ends": // weekday, date and time in UTC
			if t, err := time.Parse("2006/01/02 15:04:05", words[2]+" "+words[3]); err == nil {
				ends = t
			}
		case strings.TrimSpace(line) == "}":
			if strings.EqualFold(hardware, mac) && (ends.IsZero() || ends.After(now)) {
				ip = address
			} else if ip == address {
				ip = "" // somebody else has it by now
			}
		}
	}
	return ip
}
