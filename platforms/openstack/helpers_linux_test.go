package openstack

import (
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"
)

func identity(p *gophercloud.ProviderClient, e gophercloud.EndpointOpts) (*gophercloud.ServiceClient, error) {
	return openstack.NewIdentityV3(p, e)
}

// user returns the id of who is logged in.
func (s *session) user() (string, error) {
	u, err := s.provider.GetAuthResult().(tokens.CreateResult).ExtractUser()
	if err != nil {
		return "", err
	}
	return u.ID, nil
}
