package export

import (
	"encoding/xml"
	"fmt"
	"strings"

	"bake.build/bake/internal/hardware"
)

// hypervConfig returns the settings of a machine for Vagrant's provider hyperv, which
// makes a new machine from them: name, generation, boot order, CPUs, memory, and one
// disk on the bus of the generation. The form is that of Hyper-V before Windows 10; the
// one since then is no text.
func hypervConfig(name string, h hardware.Options) []byte {
	memory, _ := h.MemorySize()
	generation, secure := 0, ""
	disk := `<controller0><drive0><pathname type="string">box.vhdx</pathname><type type="string">VHD</type></drive0></controller0>`
	controller := `<_83f8638b-8dca-4152-9eda-2ca8b33039b4_>` + disk + `</_83f8638b-8dca-4152-9eda-2ca8b33039b4_>`
	if h.UEFI() {
		generation = 1 // which is called 2
		secure = fmt.Sprintf(`<secure_boot_enabled type="bool">%s</secure_boot_enabled>`, map[bool]string{true: "True", false: "False"}[h.SecureBoot])
		guid := "d422512d-2bf2-4752-809d-7b82b5fcb1b4"
		controller = fmt.Sprintf(`<_%s_><ChannelInstanceGuid type="string">%s</ChannelInstanceGuid>%s</_%s_>`, guid, guid, disk, guid)
	}
	var escaped strings.Builder
	xml.EscapeText(&escaped, []byte(name)) // a strings.Builder takes everything
	return fmt.Appendf(nil, `<?xml version="1.0" encoding="utf-8"?>
<configuration>
  %s
  <properties>
    <name type="string">%s</name>
    <subtype type="integer">%d</subtype>
    <type_id type="string">Virtual Machines</type_id>
  </properties>
  <settings>
    <boot><device0 type="string">HardDrive</device0></boot>
    <memory>
      <bank>
        <dynamic_memory_enabled type="bool">False</dynamic_memory_enabled>
        <limit type="integer">%d</limit>
        <reservation type="integer">%d</reservation>
        <size type="integer">%d</size>
      </bank>
    </memory>
    <processors><count type="integer">%d</count></processors>
    %s
  </settings>
</configuration>
`, controller, escaped.String(), generation, memory>>20, memory>>20, memory>>20, h.CPUs, secure)
}
