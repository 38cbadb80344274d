package openstack

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"bake.build/bake/internal/lazyregexp"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/remote"
	"bake.build/bake/platforms/ssh"
)

// Name is the platform's name in definitions.
const Name = "openstack"

// Options are the options of openstack().
type Options struct {
	Cloud string `bake:"cloud" json:"cloud,omitempty" help:"The cloud's name in clouds.yaml, which is looked for in this directory, in ~/.config/openstack and in /etc/openstack." default:"$OS_CLOUD, or none: the other variables OS_*"`

	AuthURL          string           `bake:"auth_url" json:"auth_url,omitempty" help:"The URL of the identity service, such as https://cloud.example.com:5000/v3." default:"that of the cloud, or $OS_AUTH_URL"`
	Region           string           `bake:"region" json:"region,omitempty" help:"The region." default:"that of the cloud, $OS_REGION_NAME, or the only one"`
	Interface        string           `bake:"interface" json:"interface,omitempty" help:"Which endpoints of services are used." default:"that of the cloud, $OS_INTERFACE, or public" choices:"public|internal|admin"`
	CloudUser        string           `bake:"cloud_user" json:"cloud_user,omitempty" help:"The user of the identity service." default:"that of the cloud, or $OS_USERNAME"`
	CloudPassword    platforms.Secret `bake:"cloud_password" json:"cloud_password,omitempty" help:"The password of cloud_user." default:"that of the cloud, or $OS_PASSWORD"`
	UserDomain       string           `bake:"user_domain" json:"user_domain,omitempty" help:"The domain of cloud_user, by its name." default:"that of the cloud, $OS_USER_DOMAIN_NAME, or Default"`
	Project          string           `bake:"project" json:"project,omitempty" help:"The project, by its name or id." default:"that of the cloud, $OS_PROJECT_ID, or $OS_PROJECT_NAME"`
	ProjectDomain    string           `bake:"project_domain" json:"project_domain,omitempty" help:"The domain of the project, by its name." default:"that of the cloud, $OS_PROJECT_DOMAIN_NAME, or Default"`
	Credential       string           `bake:"credential" json:"credential,omitempty" help:"The id of an application credential, in place of user and project." default:"that of the cloud, or $OS_APPLICATION_CREDENTIAL_ID"`
	CredentialSecret platforms.Secret `bake:"credential_secret" json:"credential_secret,omitempty" help:"The secret of credential." default:"that of the cloud, or $OS_APPLICATION_CREDENTIAL_SECRET"`
	CloudToken       platforms.Secret `bake:"cloud_token" json:"cloud_token,omitempty" help:"A token of the identity service, in place of user and password. It is not renewed: a build ends when it expires." default:"that of the cloud, or $OS_TOKEN"`
	CACert           string           `bake:"ca_cert" json:"ca_cert,omitempty" help:"A file with the certificates of the authorities that sign those of the services." default:"that of the cloud, $OS_CACERT, or those that this host trusts"`
	ClientCert       string           `bake:"client_cert" json:"client_cert,omitempty" help:"A file with a certificate of this client." default:"that of the cloud, or $OS_CERT"`
	ClientKey        string           `bake:"client_key" json:"client_key,omitempty" help:"A file with the key of client_cert." default:"that of the cloud, or $OS_KEY"`
	Insecure         bool             `bake:"insecure" json:"insecure,omitempty" help:"Accept any certificate of the services: whoever is on the way to them can read the password."`

	Flavor           string            `bake:"flavor" json:"flavor,omitempty" help:"The flavor of servers, by its name or id." default:"the smallest that has cpus, memory and the disk of the image"`
	CPUs             int               `bake:"cpus" json:"cpus,omitempty" help:"CPUs that a flavor has at least." default:"1"`
	Memory           string            `bake:"memory,size" json:"memory,omitempty" help:"Memory that a flavor has at least." default:"2G"`
	MaxServers       int               `bake:"max_servers" json:"max_servers,omitempty" help:"Maximum number of servers at once." default:"4"`
	Networks         []string          `bake:"networks" json:"networks,omitempty" help:"The networks of servers, by their names or ids; with an address behind a space, as in \"build 10.0.0.7\", that one is taken. SSH goes to the first." default:"the only one that the project can use"`
	Ports            []string          `bake:"ports" json:"ports,omitempty" help:"Ports of Neutron that a server gets, by their ids, in place of networks. They make max_servers 1."`
	FloatingPool     string            `bake:"floating_pool" json:"floating_pool,omitempty" help:"The external network, by its name or id, that servers get a floating address of, which SSH goes to." default:"none"`
	FloatingAddress  string            `bake:"floating_address" json:"floating_address,omitempty" help:"A floating address that the project has, which servers get one after the other and which SSH goes to. It is given back to nobody, and makes max_servers 1." default:"none"`
	IPVersion        string            `bake:"ip_version" json:"ip_version,omitempty" help:"Which address of a server is connected to." default:"any" choices:"any|4|6"`
	SecurityGroups   []string          `bake:"security_groups" json:"security_groups,omitempty" help:"The security groups of servers, by their names or ids." default:"one that is made for the build, and lets ssh_from in"`
	SSHFrom          []string          `bake:"ssh_from" json:"ssh_from,omitempty" help:"The networks that the build's security group lets in, such as 203.0.113.7/32." default:"this host's address, as the identity service is reached from it"`
	AvailabilityZone string            `bake:"availability_zone" json:"availability_zone,omitempty" help:"The availability zone of servers." default:"as the cloud decides"`
	ServerGroup      string            `bake:"server_group" json:"server_group,omitempty" help:"The server group of servers, by its id."`
	Metadata         map[string]string `bake:"metadata,numbers" json:"metadata,omitempty" help:"Metadata of servers, layers and images."`

	ssh.Login `defaults:"user=the image's os_admin_user, or debian, ubuntu, fedora, rocky, almalinux, centos, arch, alpine, opensuse or cloud-user by its os_distro, or root"`
	ssh.Bastions

	Key         string `bake:"key" json:"key,omitempty" help:"How the build's key gets into servers: as a key pair of Nova, or in cloud-init's user data." default:"key-pair" choices:"key-pair|user-data"`
	UserData    string `bake:"user_data" json:"user_data,omitempty" help:"The user data of servers, for key = \"key-pair\"."`
	ConfigDrive bool   `bake:"config_drive" json:"config_drive,omitempty" help:"Servers get a config drive, for clouds without a metadata service."`

	BootVolume string `bake:"boot_volume,size" json:"boot_volume,omitempty" help:"Servers boot from a volume of this size, in whole GiB, which Cinder makes of the image. Layers are snapshots of the volume then." default:"servers have the disk of their flavor"`
	VolumeType string `bake:"volume_type" json:"volume_type,omitempty" help:"The type of that volume." default:"that of the cloud"`
	VolumeZone string `bake:"volume_availability_zone" json:"volume_availability_zone,omitempty" help:"The availability zone of that volume, for clouds whose volumes have others than servers." default:"as the cloud decides"`

	remote.Options
}

// Defaults and choices of Options.
const (
	defaultServers = 4
	defaultMemory  = 2 << 30
	keyUserData    = "user-data"
)

var (
	_ platforms.OptionChecker = (*Options)(nil)
	_ platforms.OptionChecker = (*Origin)(nil)
	_ platforms.OptionChecker = (*Publication)(nil)
)

// Check implements platforms.OptionChecker.
func (o *Options) Check() error {
	if _, err := netip.ParseAddr(o.FloatingAddress); o.FloatingAddress != "" && err != nil {
		return fmt.Errorf("floating_address: %q is not an address", o.FloatingAddress)
	}
	for _, from := range o.SSHFrom {
		if _, err := netip.ParsePrefix(from); err != nil {
			return fmt.Errorf("ssh_from: %q is not a network, such as 203.0.113.7/32", from)
		}
	}
	for _, n := range o.Networks {
		if _, address := splitNetwork(n); address != "" {
			if _, err := netip.ParseAddr(address); err != nil {
				return fmt.Errorf("networks: %q: %q is not an address", n, address)
			}
			if o.MaxServers > 1 {
				return fmt.Errorf("networks: %q: a fixed address needs max_servers = 1", n)
			}
		}
	}
	switch {
	case len(o.Ports) > 0 && len(o.Networks) > 0:
		return errors.New("ports: take the place of networks")
	case o.FloatingAddress != "" && o.FloatingPool != "":
		return errors.New("floating_address: takes the place of floating_pool")
	case o.FloatingAddress != "" && o.MaxServers > 1:
		return errors.New("floating_address: needs max_servers = 1")
	case len(o.Ports) > 0 && o.MaxServers > 1:
		return errors.New("ports: need max_servers = 1")
	case len(o.Ports) > 0 && len(o.SecurityGroups) > 0:
		return errors.New("security_groups: a port has its own")
	case len(o.SSHFrom) > 0 && len(o.SecurityGroups)+len(o.Ports) > 0:
		return errors.New("ssh_from: is for the build's own security group, which security_groups and ports take the place of")
	case len(o.Bastion) > 0 && len(o.SSHFrom)+len(o.SecurityGroups)+len(o.Ports) == 0:
		return errors.New("bastion: say with ssh_from which address servers see it as, or give security_groups")
	case o.Flavor != "" && (o.CPUs != 0 || o.Memory != ""):
		return errors.New("flavor: says what cpus and memory are")
	case o.UserData != "" && o.Key == keyUserData:
		return errors.New(`user_data: belongs to key = "key-pair"`)
	case o.CPUs < 0:
		return fmt.Errorf("cpus: %d is less than zero", o.CPUs)
	case o.MaxServers < 0:
		return fmt.Errorf("max_servers: %d is less than zero", o.MaxServers)
	case o.VolumeType != "" && o.BootVolume == "":
		return errors.New("volume_type: needs boot_volume")
	case o.VolumeZone != "" && o.BootVolume == "":
		return errors.New("volume_availability_zone: needs boot_volume")
	case o.ClientKey != "" && o.ClientCert == "":
		return errors.New("client_key: needs client_cert")
	case o.CloudToken != "" && (o.CloudUser != "" || o.CloudPassword != ""):
		return errors.New("cloud_token: takes the place of cloud_user and cloud_password")
	case o.Credential != "" && o.Project != "":
		return errors.New("project: credential says which one it is")
	}
	if _, err := o.memory(); err != nil {
		return err
	}
	if _, err := wholeGiB("boot_volume", o.BootVolume); err != nil {
		return err
	}
	return errors.Join(checkMetadata("metadata", o.Metadata), o.Login.Check(), o.Options.Check())
}

func (o *Options) maxServers() int {
	if len(o.Ports) > 0 || o.FloatingAddress != "" {
		return 1
	}
	for _, n := range o.Networks {
		if _, address := splitNetwork(n); address != "" {
			return 1
		}
	}
	return cmp.Or(o.MaxServers, defaultServers)
}

// memory returns the least memory of a flavor, in bytes.
func (o *Options) memory() (int64, error) {
	if o.Memory == "" {
		return defaultMemory, nil
	}
	n, err := platforms.ParseSize(o.Memory)
	if err != nil {
		return 0, fmt.Errorf("memory: %w", err)
	}
	return n, nil
}

// splitNetwork returns the name of a network and the address in it, which may be "".
func splitNetwork(text string) (name, address string) {
	i := strings.LastIndex(text, " ")
	if i < 0 {
		return text, ""
	}
	return strings.TrimSpace(text[:i]), text[i+1:]
}

// wholeGiB returns the size that an option says in GiB; 0 for none.
func wholeGiB(option, text string) (int, error) { return whole(option, text, 1<<30, "GiB") }

// whole returns the size that an option says in units of a name; 0 for none.
func whole(option, text string, unit int64, name string) (int, error) {
	if text == "" {
		return 0, nil
	}
	n, err := platforms.ParseSize(text)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", option, err)
	}
	if n%unit != 0 {
		return 0, fmt.Errorf("%s: %s: want whole %s", option, text, name)
	}
	return int(n / unit), nil
}

// nameMost is how long names and values of Nova's metadata and of Glance's properties may be.
const nameMost = 255

// checkNames says which names and values neither Nova nor Glance takes.
func checkNames(option string, m map[string]string) error {
	for name, value := range m {
		switch {
		case name == "" || len(name) > nameMost || len(value) > nameMost:
			return fmt.Errorf("%s: %q: names have 1 to %d characters, and values at most as many", option, name, nameMost)
		case strings.HasPrefix(name, "bake:"):
			return fmt.Errorf("%s: %q: names that begin with bake: are bake's own, by which it finds what it made", option, name)
		}
	}
	return nil
}

// checkMetadata says which names and values Nova does not take.
func checkMetadata(option string, m map[string]string) error {
	for name := range m {
		if strings.Trim(name, metadataCharacters) != "" {
			return fmt.Errorf("%s: %q: a name has letters, digits, and any of - _ : . and spaces", option, name)
		}
	}
	return checkNames(option, m)
}

const metadataCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_:. "

// Origin are the options of source().
type Origin struct {
	Image           string            `bake:"image,origin" json:"image,omitempty" help:"An image, by its id or its name. Of several of one name, the newest of the project counts, then the newest of all."`
	ImageProperties map[string]string `bake:"image_properties,origin" json:"image_properties,omitempty" help:"The newest image with these properties, such as {\"os_distro\": \"debian\", \"os_version\": \"12\"}."`
	ImageLabels     []string          `bake:"image_labels,origin" json:"image_labels,omitempty" help:"The newest image with these tags of Glance."`
	Volume          string            `bake:"volume,origin" json:"volume,omitempty" help:"A bootable volume of Cinder, by its id or its name. Servers start from copies of it, so that it may be in use; it is pinned by its id, and not as it is."`
	VolumeSnapshot  string            `bake:"volume_snapshot,origin" json:"volume_snapshot,omitempty" help:"A snapshot of a bootable volume, by its id or its name: of several, the newest. Servers start from volumes of it."`
	ImageOwner      string            `bake:"image_owner" json:"image_owner,omitempty" help:"The id of the project that the image belongs to."`
	Visibility      string            `bake:"visibility" json:"visibility,omitempty" help:"The visibility of the image." choices:"public|community|shared|private"`
}

// Check implements platforms.OptionChecker.
func (o *Origin) Check() error {
	if o.ofCinder() && (o.ImageOwner != "" || o.Visibility != "") {
		return fmt.Errorf("%s: image_owner and visibility are for images", o.option())
	}
	if isID.MatchString(o.Image) && (o.ImageOwner != "" || o.Visibility != "") {
		return errors.New("image: an id says which one it is: leave image_owner and visibility out")
	}
	return nil
}

// isID is an id of OpenStack.
var isID = lazyregexp.New(`^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$`)
