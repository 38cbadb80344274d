// Package mountns runs functions in mount namespaces of their own, so that what
// they mount goes with them, whatever happens.
package mountns
