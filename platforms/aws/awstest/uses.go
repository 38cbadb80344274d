package awstest

import "net/http"

// Use has something name an image: a "configuration" of Auto Scaling, a "fleet" or a
// "spot fleet".
func (c *Cloud) Use(by, image string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.others[by] = image
}

func (c *Cloud) describeConfigurations(w http.ResponseWriter, call Call) {
	items := ""
	if image := c.others["configuration"]; image != "" {
		items = element("member", element("LaunchConfigurationName", "workers"), element("ImageId", image))
	}
	ok(w, call, element("DescribeLaunchConfigurationsResult", element("LaunchConfigurations", items)))
}

func (c *Cloud) describeFleets(w http.ResponseWriter, call Call) {
	items := ""
	if image := c.others["fleet"]; image != "" {
		items = element("item", element("fleetId", "fleet-1"), element("fleetState", "active"),
			element("launchTemplateConfigs", element("item", element("overrides", element("item", element("imageId", image))))))
	}
	ok(w, call, element("fleetSet", items))
}

func (c *Cloud) describeSpotFleets(w http.ResponseWriter, call Call) {
	items := ""
	if image := c.others["spot fleet"]; image != "" {
		items = element("item", element("spotFleetRequestId", "sfr-1"), element("spotFleetRequestState", "active"),
			element("spotFleetRequestConfig", element("launchSpecifications", element("item", element("imageId", image)))))
	}
	ok(w, call, element("spotFleetRequestConfigSet", items))
}
