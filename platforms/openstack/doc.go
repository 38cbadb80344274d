// Package openstack is the driver of OpenStack clouds: images of Glance, with and without
// a server of Nova.
//
// Terms: a cloud is a project of one Keystone; its places are the regions of its service
// catalog. A server is an instance of Nova, an image one of Glance, a mark a property of an
// image or the metadata of a server.
//
// # Images
//
// A disk is uploaded under a name of its own, so that no image with the artifact's name is
// ever half made: it gets that name, and all that the definition says of it, when its hash
// is the one that was sent. Names of Glance are not unique; who finds out afterwards that
// another build was quicker removes its own. Ids of images are chosen here, so that an
// image whose answer was lost is found.
//
// # Layers
//
// A layer is an image that Nova makes of a running server. Where the server has a volume,
// that image holds no data and names snapshots of Cinder, which come and go with it. Nova
// hands properties of a server's image on to the images of the server: the marks that are
// not a layer's own are emptied when it is made.
package openstack
