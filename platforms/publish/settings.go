package publish

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// Settings begins the names of the marks that hold what a definition has set on an image
// and a later one may leave out: there, and nowhere else, is said what is bake's to take
// off. What others have set on the image, such as a tag of an auditor, stays.
const Settings = "bake:set"

// settingsMost is how many marks settings take, since clouds bound the marks of an image.
const settingsMost = 2

// SettingsMarks are the marks of an image with these settings, such as "protect" or
// "tag team", each mark's value at most so many bytes long. have are the marks that the
// image has. Settings that do not fit are not remembered, and stay on the image.
func SettingsMarks(settings []string, most int, have map[string]string) map[string]string {
	marks, n, value := map[string]string{}, 1, ""
	for name := range have {
		if isSettings(name) {
			marks[name] = ""
		}
	}
	for _, s := range slices.Sorted(slices.Values(settings)) {
		word := url.QueryEscape(s)
		if len(word) > most {
			continue
		}
		if value != "" && len(value)+1+len(word) > most {
			if n == settingsMost {
				break
			}
			marks[settingsName(n)], value = value, ""
			n++
		}
		value = strings.TrimPrefix(value+" "+word, " ")
	}
	if value != "" {
		marks[settingsName(n)] = value
	}
	return marks
}

func settingsName(n int) string {
	if n == 1 {
		return Settings
	}
	return fmt.Sprintf("%s:%d", Settings, n)
}

func isSettings(name string) bool {
	return name == Settings || strings.HasPrefix(name, Settings+":")
}

// Dropped returns the settings that an image has by its marks and that are not wanted any
// more.
func Dropped(have map[string]string, want []string) []string {
	var dropped []string
	for _, name := range slices.Sorted(maps.Keys(have)) {
		if !isSettings(name) {
			continue
		}
		for word := range strings.FieldsSeq(have[name]) {
			if s, err := url.QueryUnescape(word); err == nil && !slices.Contains(want, s) {
				dropped = append(dropped, s)
			}
		}
	}
	return dropped
}

// settingPlace, with a place, is a setting that each image has: where else the definition
// has had it.
const settingPlace = "place "

// SettingsMarks are the marks of an image with the definition's settings, its places, and
// those where an earlier one has had it: see the function of this name.
func (l *Life[I]) SettingsMarks(most int, have map[string]string) map[string]string {
	settings := slices.Clone(l.Settings)
	for _, place := range slices.Concat(l.Places, formerPlaces(have, l.Places)) {
		settings = append(settings, settingPlace+place)
	}
	return SettingsMarks(settings, most, have)
}

// Dropped returns the settings that an image has by its marks and that the definition does
// not name any more. Places are not among them: Retain sees to these.
func (l *Life[I]) Dropped(have map[string]string) []string {
	return slices.DeleteFunc(Dropped(have, l.Settings), func(s string) bool { return strings.HasPrefix(s, settingPlace) })
}

// formerPlaces returns the places that the marks of an image name and that are not among
// places.
func formerPlaces(marks map[string]string, places []string) []string {
	var former []string
	for _, s := range Dropped(marks, nil) {
		if place, ok := strings.CutPrefix(s, settingPlace); ok && !slices.Contains(places, place) {
			former = append(former, place)
		}
	}
	return former
}
